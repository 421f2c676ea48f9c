"""The exporter: writes datasets to files, at the speed at which PostgreSQL copies them out."""
