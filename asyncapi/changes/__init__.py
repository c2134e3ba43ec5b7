"""What has changed between two versions of the contract, in plain words, as far as it breaks somebody."""
