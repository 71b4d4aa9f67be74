"""The former name of `xcomp_protos.errors`."""

from xcomp_protos.errors import *  # noqa: F403
