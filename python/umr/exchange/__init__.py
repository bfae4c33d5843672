"""Files from and for others: what is in them before hours are spent, labels as the training rows of other toolkits."""
