"""How well images are chosen, measured against people's own picks; `xcomp eval` is its only user."""
