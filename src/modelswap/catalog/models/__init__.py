"""From the files of one folder to models: parts joined, projectors paired, kinds and abilities found."""
