"""The command line: one file a verb. It reads flags and environment, calls `runark.archive`, prints through
`runark.report`."""
