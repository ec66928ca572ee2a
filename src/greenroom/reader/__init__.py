"""A small model reads the conversations of any model and follows their character.

`reader` reads single turns cold; `stream` whole conversations, `read` files of them into a folder (`journal`, then `page`),
`monitor` one as it happens. `verdicts` judges them, `posterior` says who wrote a reply, `validation` how well it all works.
"""
