"""Reading what a source answered, in the sandbox: records of five formats, mapped to opportunities."""
