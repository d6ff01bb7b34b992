"""Files of jobs that reach every machine of a store: their content, named by its SHA-256, in a folder or in S3."""
