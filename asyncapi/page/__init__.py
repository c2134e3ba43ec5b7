"""The site: one static page, made from the document and the error table."""
