"""Whose message it is: the tenants' Meta credentials, from the shared cache or the Tenant Service."""
