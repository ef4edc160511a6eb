"""`python -m leadglass`."""

from leadglass.cli import main

if __name__ == "__main__":
    main()
