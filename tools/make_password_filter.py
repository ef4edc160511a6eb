"""Make src/leadglass/identity/common_passwords.bin: the passwords that guessers try first, as 5-byte SHA-256 prefixes.

They are made from words and patterns, not downloaded: lists of breached passwords are mostly these words with a year, a
season, a run of digits or a sign behind them. The file is sorted and the same at each run.

    .venv/bin/python tools/make_password_filter.py
"""

import hashlib
from itertools import product
from pathlib import Path

WORDS = """
password passwort passw0rd p@ssword p@ssw0rd pass pass123 admin administrator root user guest test testing tester welcome
welcome1 willkommen hello hallo bonjour login letmein let me in letmein1 master qwerty qwertz azerty qwertyuiop asdf asdfgh
asdfghjkl zxcvbn zxcvbnm yxcvbnm 1q2w3e4r 1qaz2wsx qazwsx zaq12wsx q1w2e3r4 q1w2e3r4t5 abc abcd abcdef abc123 abcd1234 a1b2c3 a1b2c3d4
dragon monkey shadow sunshine princess football baseball basketball hockey soccer superman batman starwars pokemon
iloveyou iloveu love lovely flower angel angels summer winter spring autumn fall sommer herbst fruehling january february
march april may june july august september october november december monday tuesday wednesday thursday friday saturday sunday
michael jennifer jessica ashley daniel andrew joshua matthew robert thomas jordan hunter charlie george harley maggie buster
ginger pepper cookie chocolate banana cheese coffee computer internet google facebook samsung apple iphone windows microsoft
linux oracle secret secure security private access changeme change me default temp temporary trustno1 whatever freedom forever
killer ninja mustang ferrari porsche mercedes yamaha harley corvette liverpool chelsea arsenal barcelona madrid juventus
bayern london paris berlin newyork california texas america england germany france canada australia
hospital clinic klinik doctor doktor nurse medicine medical health radiology radiologie radiologist xray x-ray ctscan mri pacs
dicom orthanc dcm4chee viewer workstation archive imaging patient surgery emergency station ward cardio cardiology oncology
diamond silver golden orange purple yellow black white blue green tiger lion eagle falcon phoenix wizard magic matrix merlin
jesus christ heaven blessed faith grace family mother father daddy mommy brother sister friend friends baby angel honey sweet
guitar music rockstar metallica nirvana eminem player gamer zombie pirate samurai cowboy ranger soldier captain general
office business company manager director support service helpdesk server network router cisco database backup system
monitor keyboard mouse printer laptop mobile phone android qwert12345 zaqwsx poiuytrewq lkjhgfdsa mnbvcxz
""".split()
YEARS = [str(y) for y in range(1950, 2036)]
TAILS = ["", "1", "12", "123", "1234", "12345", "123456", "1!", "12!", "123!", "!", "!!", "!1", "?", ".", "*", "#", "#1", "0", "00", "01",
         "007", "10", "11", "13", "21", "22", "23", "69", "77", "88", "99", "111", "321", "666", "777", "999", "@123", "@1", "_1", "-1", "$"]
RUNS = ["1234567890", "0987654321", "qwertyuiop", "asdfghjkl", "zxcvbnm", "abcdefghijklmnopqrstuvwxyz", "qwertzuiop", "azertyuiop"]


def common() -> set[str]:
    """Return every password of the list, in small letters."""
    found = {word + tail for word, tail in product(WORDS, TAILS)}
    found |= {word + mark + year + end for word, mark, year, end in product(WORDS[:150], ("", "-"), YEARS[40:], ("", "!"))}
    found |= {first + second for first, second in product(WORDS[:60], WORDS[:60])}
    for run in RUNS:
        twice = run + run
        found |= {twice[i : i + n] for n in range(6, 15) for i in range(len(run))}
        found |= {"".join(reversed(twice[i : i + n])) for n in range(6, 15) for i in range(len(run))}
    found |= {digit * n for digit in "0123456789abcxyz" for n in range(6, 17)}
    found |= {pair * n for pair in ("12", "ab", "a1", "69", "123", "abc", "qwe", "asd", "1q", "10") for n in range(2, 7)}
    found |= {f"{day:02d}{month:02d}{year}" for day in range(1, 32) for month in range(1, 13) for year in ("1970", "1980", "1990", "2000", "2010", "2020")}
    swapped = str.maketrans("aeios", "@3105")
    found |= {word.translate(swapped) + tail for word, tail in product(WORDS, ("", "1", "123", "!"))}
    return {p for p in found if len(p) >= 6}


def main() -> None:
    prefixes = sorted({hashlib.sha256(p.encode()).digest()[:5] for p in common()})
    target = Path(__file__).parents[1] / "src" / "leadglass" / "identity" / "common_passwords.bin"
    target.write_bytes(b"".join(prefixes))
    print(f"{len(prefixes)} passwords, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
