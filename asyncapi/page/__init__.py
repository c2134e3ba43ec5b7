"""The site: one static page, made from the document and the error table.

The page's HTML is in `templates/`; the modules beside it prepare the plain values for them.
"""
