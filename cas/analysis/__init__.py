"""Token analysis: what tokenizers make of a dataset's text.

``cas tokens NAME`` counts the words of a dataset once, and says of each tokenizer how much
text a token holds, which part of its vocabulary the text uses, how long documents become, and
what a ``max_length`` costs in padding and in what is cut off.

``words`` GPT-2's pre-tokens · ``counting`` the one pass · ``choice`` which tokenizers ·
``training`` vocabularies of several sizes · ``figures`` arithmetic · ``analyse`` the walk ·
``report`` the files that are made of it · ``rows`` a Parquet file that joins with experiments ·
``svg``, ``plots``, ``page`` what there is to look at
"""

from cas.analysis.analyse import Analysis, Figures, analyse
from cas.analysis.report import report

__all__ = ["Analysis", "Figures", "analyse", "report"]
