"""The built-in web console: incidents, their evidence, operators' actions, streams; JSON, metrics and health beside it."""
