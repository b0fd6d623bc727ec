"""Chunks of texts in any script are bounded, and sentences end at the full stop of each script."""

import base64
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from indexing.corpora.chunking import LONGEST_WORD, PIECE_OF_LONG_WORD, Chunking, sentence_starts, words

CHINESE = "机器学习是人工智能的一个分支它研究如何让计算机从数据中学习"
UNSPACED = {
    "chinese": CHINESE,
    "kana": "ひらがなとカタカナをならべてかく",
    "half-width kana": "ｶﾀｶﾅﾃﾞｶｸ",
    "rare ideographs": "𠀀𠀁𠀂𠀃",
    "thai": "วัคซีนฝึกระบบภูมิคุ้มกันให้รู้จักไวรัส",
    "lao": "ວັກຊີນຝຶກລະບົບພູມຄຸ້ມກັນ",
    "khmer": "វ៉ាក់សាំងបង្វឹកប្រព័ន្ធភាពស៊ាំ",
    "burmese": "ကာကွယ်ဆေးများသည်ကိုယ်ခံအား",
    "tibetan": "སྨན་ཁབ་ཀྱིས་ནད་འགོག་ནུས་པ་སྦྱོང",
}


def pieces(text, **how):
    return [text[chunk.start : chunk.end] for chunk in Chunking(**how)(text)]


def base_characters(text):
    import unicodedata

    return sum(not unicodedata.category(character).startswith("M") for character in text)


@pytest.mark.parametrize("by", ["tokens", "sentences", "markdown"])
@pytest.mark.parametrize("script", UNSPACED)
def test_each_character_of_a_script_without_spaces_counts(script, by):
    text = UNSPACED[script] * 100
    cut = pieces(text, by=by, size=50, overlap=0)
    assert "".join(cut) == text
    assert max(map(base_characters, cut)) <= 50
    assert min(map(len, cut[:-1])) >= 50


def test_the_end_of_a_long_chinese_text_is_in_a_short_chunk():
    cut = pieces(CHINESE * 100 + "疫苗可以预防麻疹", size=100)
    assert cut[-1].endswith("疫苗可以预防麻疹")
    assert max(map(len, cut)) <= 100


def test_chinese_between_latin_words_is_cut_between_characters():
    text = "GPU加速 of 数据库"
    assert [text[start:end] for start, end in words(text)] == ["GPU", "加", "速", "of", "数", "据", "库"]


@pytest.mark.parametrize("encode", [bytes.hex, lambda data: base64.b64encode(data).decode()])
def test_a_run_without_spaces_that_is_no_word_is_cut(encode):
    text = encode(random.Random(0).randbytes(15_000))
    cut = pieces(text, size=256, overlap=0)
    assert "".join(cut) == text
    # Base64 holds marks, which end words.
    longest = 256 * PIECE_OF_LONG_WORD + LONGEST_WORD if text.isalnum() else 2048
    assert max(map(len, cut)) <= longest


def test_long_words_of_a_language_stay_whole():
    text = "Rechtsschutzversicherungen _snake_case_name_ 3rd"
    assert [text[start:end] for start, end in words(text)] == text.split()


def test_a_combining_mark_stays_with_its_letter():
    for text in ("हिन्दी में", "كَتَبَ", "e\u0301te\u0301", "ก็ได้"):
        starts = [start for start, _ in words(text)]
        for chunk in pieces(text, by="tokens", size=1, overlap=0):
            assert base_characters(chunk[:1]) == 1
        assert len(starts) == len(set(starts))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("टीके काम करते हैं। वे सुरक्षित हैं।", 2),
        ("एक॥ दो॥", 2),
        ("هل يعمل اللقاح؟ نعم.", 2),
        ("ویکسین کام کرتی ہے۔ یہ محفوظ ہے۔", 2),
        ("ワクチンは効く。本当だ！", 2),
        ("半角です｡次です｡", 2),
        ("ក្រុម។ពីរ។", 2),
        ("တစ်။ နှစ်။", 2),
        ("አንድ። ሁለት።", 2),
        ("Մեկ։ Երկու։", 2),
    ],
)
def test_sentences_end_at_the_full_stop_of_each_script(text, count):
    assert len(sentence_starts(text)) == count


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=1, max_size=400), st.integers(1, 20), st.sampled_from(["tokens", "sentences", "markdown"]))
@example("a" + "\u0301" * 200, 1, "tokens")
def test_no_text_makes_a_chunk_without_bound(text, size, by):
    cut = pieces(text, by=by, size=size, overlap=0)
    assert "".join(cut) == text
    for chunk in cut:
        assert sum(not character.isspace() for character in chunk) <= size * (LONGEST_WORD + PIECE_OF_LONG_WORD)
