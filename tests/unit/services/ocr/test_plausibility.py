"""Words of many languages are believed, and substituted or garbled ones doubted."""

import pytest

from services.ocr.plausibility import is_implausible

ENGLISH = (
    "The harbour master opened the ledger at seven and wrote down every vessel that had come in during the night"
)
LANGUAGES = {
    "English": ENGLISH,
    "German": "Der Hafenmeister öffnete um sieben das Buch und schrieb jedes Schiff auf, das nachts gekommen war",
    "Czech": "Správce přístavu otevřel v sedm knihu a zapsal do ní každou loď, která v noci připlula do zálivu",
    "Polish": "Kapitan portu otworzył księgę o siódmej i zapisał każdy statek, który przypłynął w ciągu nocy",
    "Welsh": "Agorodd meistr yr harbwr y llyfr am saith ac ysgrifennodd bob llong a ddaeth i mewn yn ystod y nos",
    "Finnish": "Satamapäällikkö avasi kirjan seitsemältä ja kirjoitti muistiin jokaisen yöllä saapuneen laivan",
    "Russian": "Начальник порта открыл книгу в семь и записал каждое судно, которое пришло за ночь в гавань",
    "Greek": "Ο λιμενάρχης άνοιξε το βιβλίο στις επτά και έγραψε κάθε πλοίο που είχε έρθει τη νύχτα",
    "Chinese": "港务长七点打开账簿 写下夜间进港的每一艘船 三艘驳船运碎石 两艘运木材",
    "contents": "Introduction ............ 5 Chapter ............ 12 Index ............ 130 Tables ........ 144",
    "figures": "12.50 13.75 1,204.00 99 100.5 2024-01-05 17 18 19 20 44.2 12:30 4.5 % 100 EUR 13.2 USD 7 8 9",
    "codes": "LiteralEntry: 4 CARD32 N_GLOBS 12*N_GLOBS GlobEntry: 4 CARD32 GLOB_OFFSET 4 CARD32 MIME_TYPE_OFFSET",
    "few": "qwrt zxcv",
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_languages_and_figures_are_believed(language: str) -> None:
    assert not is_implausible(LANGUAGES[language].split())


@pytest.mark.parametrize("shift", [3, 7, 20])
def test_letters_that_stand_for_others_are_doubted(shift: int) -> None:
    moved = "".join(
        chr((ord(letter) - ord("a") + shift) % 26 + ord("a")) if letter.isalpha() else letter
        for letter in ENGLISH.lower()
    )
    assert is_implausible(moved.split())


@pytest.mark.parametrize(
    "words",
    [
        ". , ; : ' ` . , - . ; : ' . , : ; . , ' . - . , ; : ' ` .",
        "l~|i| rn.i;t<r 0p€n<d tl1c 1cdg3r @t s<v3n @nd wr0t< d0wn <v<ry v<ss<1 th@t h@d c0m< 1n",
        "tHe hArbOUr mAsTEr oPeNeD tHE lEdGeR aT sEvEN aNd wRoTe dOWn eVeRy vEsSEl tHAt hAd cOMe",
    ],
)
def test_garbled_words_are_doubted(words: str) -> None:
    assert is_implausible(words.split())
