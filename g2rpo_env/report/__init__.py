"""Reports: the folder, the plots and the tables of a training run."""
