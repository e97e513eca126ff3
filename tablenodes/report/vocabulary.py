"""The words of which errors are made: that a message has one of them tells nothing of the request that it is about."""

from __future__ import annotations

_WORDS = """
a about above access account active actual add added after again all allow allowed allows already also always an and
another any anything api are argument arguments array as ascii ask assistant at attempt attempts attribute audio auth
authentication authorization available azure b bad base64 be because been before begin being below beta between billing
block blocked body boolean both busy but by byte bytes call called calls can cannot cap capacity change character
characters chat check choice choices client code column columns com completion completions connect connection contain
contained contains content content-type context correct could credentials credit credits current currently cut data
decode deprecated description detail details detected developer did different digits directly disabled do docs
documentation does doesn doing don done down download due during e each effort either element elements empty enable
enabled encountered end ended ends engine enough entire enum error errors every exactly example exceed exceeded exceeds
exception exist existing exists expect expected expects expired explicitly extra failed failure false feature field
fields file files filter filtered find finish first flagged float following for forbidden form format found fps
frequency from function functions further gateway generate generation get given got gpt greater had has have header
headers help high host however html http https i id identifier if image images immediately in include included
including incorrect index inference input inputs inside instead instructions insufficient int integer internal into
invalid is isn issue it item items its json just key keys kind language large larger last learn least length less limit
limited limits line list llm load loaded loading location log logit logprobs long longer low made make malformed
management mandatory many match matches max maximum may maybe medium message messages metadata method min minimum
minute minutes missing modalities mode model models moderation modify more most ms must n name named names need needed
network new no nobody non none not nothing null number numbers object of off on once one only open openai option
optional or order org organization other others our out output over overloaded own page parallel param parameter
parameters parse parsed parsing part parts path payload penalty per period permission permitted plan platform please
point policy positive possible prediction prefill presence present previous problem processing prohibited project
prompt prompts properties property provide provided provider quota range rate rather reach reached read reason
reasoning receive received redirect reduce refer refusal refuse refused region reject rejected remove request requested
requests require required requires reset resource respond response responses result resulted results retention retry
return returned reused role row rows rpm rule s safety same sampling schema second seconds see seed send sent sequence
server service session set setting settings shorten shorter should shut since size slow small smaller so some something
sorry specified specify start started status stop store stream streaming strict string strings structured such supplied
support supported supports system t take temperature temporarily text than that the their them then there these they
this those through tier time timed timeout to together token tokens too took tool tools top total tpm triggering true
try trying tuple type types unable unauthorized unavailable undefined understand unexpected unknown unprocessable
unrecognized unsupported until up update upgrade upstream url us usage use used user uses using utf utf-8 valid
validation value values verbosity verify version via violates violating violation wait was way we were what when where
whether which while who will window with within without word words would wrong www you your yours zero
"""
WORDS = frozenset(part for word in _WORDS.split() for part in (word, *word.split("-")))
