"""The documentation. `configuration` writes one of its pages, `site_files` is a hook of the site."""
