"""Run the model elsewhere: one deployment on Ray Serve, which media nodes send their windows to over HTTP."""
