"""Meta's Graph API: the error table, the classifier, the client and its transport."""
