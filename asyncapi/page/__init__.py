"""The site: one static page, made from the document and the error table.

The page's HTML is in `templates/`; what stands in them, as plain values, is prepared by the modules beside it.
"""
