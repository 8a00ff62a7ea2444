# SPDX-License-Identifier: BSD-2-Clause
"""Compressors and openssl: few blocks, large ones, on several threads."""

QUICK = {
    'gzip, there and back': 'gzip -9nc "$IN/words.txt" > words.gz && gzip -dc words.gz | cmp - "$IN/words.txt"',
    'xz, on two threads': 'xz -T2 --block-size=500000 -1c "$IN/records.json" > a.xz && xz -dc a.xz | cksum',
    'zstd, on two threads': 'zstd -q -T2 -5 -c "$IN/records.xml" > a.zst && zstd -dc a.zst | cksum',
    'openssl, digest and cipher':
        'openssl dgst -sha256 "$IN/words.txt"; openssl enc -aes-128-cbc -K 00 -iv 00 -in "$IN/words.txt" -out a 2> e',
}

LONG = {
    'bzip2, there and back': 'bzip2 -c "$IN/records.xml" > a.bz2 && bzip2 -dc a.bz2 | cksum',
    'xz, threads there and back': 'xz -T4 --block-size=300000 -2c "$IN/records.xml" > a.xz && xz -T4 -dc a.xz | cksum',
    'zstd, long window, levels':
        'for level in 1 9 15; do zstd -q -T2 -$level --long=24 -c "$IN/records.bin" > $level.zst || exit 1; '
        'zstd -q --long=24 -dc $level.zst | cksum; done',
    'openssl, keys and certificates':
        'openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key 2> e && '
        'openssl req -x509 -new -key key -subj /CN=localhost -days 2 -out cert 2> e && '
        'openssl verify -CAfile cert cert && openssl dgst -sha256 -sign key -out sig "$IN/words.txt" && '
        'openssl x509 -in cert -pubkey -noout > pub && openssl dgst -sha256 -verify pub -signature sig "$IN/words.txt" '
        '&& rm e key cert sig pub',
}
