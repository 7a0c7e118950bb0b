"""What a training run leaves behind: its folder, its plots, and the line or bar that shows it while it runs."""
