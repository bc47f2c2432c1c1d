"""`/console`: a page for people who would rather look than read. Thin views over the same features as the API."""
