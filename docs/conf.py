"""Sphinx configuration of the site. `make docs` builds it; warnings and dead links inside it are errors."""

from eetool import __version__

project = "eetool"
author = "The eetool authors"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_type_aliases = {"Arrays": "Arrays", "Raw": "Raw"}
html_theme = "furo"
html_title = "eetool"
html_show_copyright = False
html_show_sphinx = False
