from tests.train.conftest import few as few
from tests.train.conftest import one_thread as one_thread
from tests.train.conftest import tiny_bert as tiny_bert
from tests.train.conftest import tiny_config as tiny_config
from tests.train.conftest import toy_triplets as toy_triplets
