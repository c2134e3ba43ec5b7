"""What has changed between two versions of the contract, as far as it breaks publishers or consumers."""
