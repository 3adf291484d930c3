"""The built-in web console: incidents and their evidence, operators' actions, streams; JSON, metrics and health too."""
