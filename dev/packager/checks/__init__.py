"""The checks of the marketplace and its reviewers, run on the built packages.

Each check is a function of an unpacked package that yields problems. Its id is that of
the marketplace's rules, grouped by letter: L layout, M manifest, D documents, P
dependencies, S safety, T runtime. U is ours: faults that a person sees on Dify's pages.
"""
