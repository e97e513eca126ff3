"""The site of the documentation, made of the pages in `docs` and of what the package says of itself."""
