"""Tell a receiver of the operator's what happens to calls (https://www.standardwebhooks.com, version 1.0)."""
