"""What an article is written as: Markdown, HTML pages, images, or blocks within a static site."""
