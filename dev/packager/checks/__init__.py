"""What the marketplace and its reviewers check, run on what was built.

Each check is a function of an unpacked package that yields problems; its id is that of
the marketplace's rules, grouped by letter: L layout, M manifest, D documents,
P dependencies, S safety, T runtime; U is ours: what a person meets in Dify's pages.
"""
