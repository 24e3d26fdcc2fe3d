"""Values for constructor arguments that no source tells: typical ones, by name, use and annotation.

`kinds` says what a name usually means, `uses` reads from the code what is done with the value,
`annotations` what the annotation allows; `choices` joins them to a list of values, the likeliest
first, and `search` moves along these lists as attempts fail.
"""
