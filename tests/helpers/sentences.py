"""Sentences of many languages, and their words by UAX #29 without regard to case, separated by spaces."""

from __future__ import annotations

SENTENCES = {
    "english": (
        "Don't pay 3.14 or 1,000 at https://example.com/a?b=1, Mr. O’Neil!",
        "don't pay 3.14 or 1,000 at https : / / example.com / a ? b = 1 , mr . o'neil !",
    ),
    "french": ("L'été, c’est l’heure d'aller\u202f!", "l'été , c'est l'heure d'aller !"),
    "german": ("Die Straße und die STRASSE, Größe: 1.000,5\xa0kg", "die strasse und die strasse , grösse : 1.000,5 kg"),
    "greek": ("ΟΔΟΣ Οδός, τί λέει;", "οδοσ οδόσ , τί λέει ;"),
    "turkish": ("İstanbul'da IŞIK ve ısı", "i\u0307stanbul'da işik ve ısı"),
    "russian": ("Привет, мир - йод!", "привет , мир - йод !"),
    "vietnamese": ("Việt Nam đẹp lắm", "việt nam đẹp lắm"),
    "hindi": ("नमस्ते, यह फ़िल्म अच्छी है।", "नमस्ते , यह फ\u093cिल्म अच्छी है ।"),
    "tamil": ("தமிழ் ஒரு மொழி.", "தமிழ் ஒரு மொழி ."),
    "thai": ("ภาษาไทย ดีมาก", "ภ า ษ า ไ ท ย ดี ม า ก"),
    "lao": ("ລາວ", "ລ າ ວ"),
    "khmer": ("ខ្មែរ ភាសា", "ខ្ មែ រ ភា សា"),
    "burmese": ("မြန်မာ", "မြ န် မာ"),
    "tibetan": ("ཀ་ཁ་", "ཀ ་ ཁ ་"),
    "chinese": ("这部电影，非常好看。", "这 部 电 影 ， 非 常 好 看 。"),
    "japanese": ("東京タワーへ行った。", "東 京 タワー へ 行 っ た 。"),
    "korean": ("한국어 문장입니다.", "한국어 문장입니다 ."),
    "arabic": ("مَرْحَبًا بالعالَم، ١٢٣٫٥", "مَرْحَبًا بالعالَم ، ١٢٣٫٥"),
    "persian": ("می\u200cخواهم بروم", "می\u200cخواهم بروم"),
    "hebrew": ("שלום, צה\"ל ג׳ירפה ב'", "שלום , צה\"ל ג׳ירפה ב'"),
    "emoji": (
        "👨\u200d👩\u200d👧🇩🇪🇫🇷 👍🏽❤\ufe0f 1\ufe0f\u20e3",
        "👨\u200d👩\u200d👧 🇩🇪 🇫🇷 👍🏽 ❤\ufe0f 1\ufe0f\u20e3",
    ),
}
