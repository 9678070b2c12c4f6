"""The same as `python -m wgangp.train_classifier`, which installed packages have too."""

from wgangp.train_classifier import main

if __name__ == "__main__":
    main()
