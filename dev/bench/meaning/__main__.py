"""python -m bench.meaning: learns the weights of the score."""

from bench.meaning import main

main()
