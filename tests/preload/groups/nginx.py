# SPDX-License-Identifier: BSD-2-Clause
"""nginx: two workers compress what they serve. Run as a program: starts it here, asks for files, prints the answers.

Not in the quick set: Debian's package starts a service when it is installed.
"""
import gzip
import hashlib
import http.client
import os
import socket
import subprocess
import sys
import threading
import time

SOCKET = 'nginx.sock'
CONF = '''
daemon off; worker_processes 2; pid nginx.pid; error_log error.log warn; %s
events { worker_connections 64; }
http {
	access_log off; types { text/xml xml; application/json json; }
	gzip on; gzip_comp_level 2; gzip_types *; gzip_min_length 10; gunzip on;
	client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
	server { listen unix:%s; root %s; location /list/ { alias %s/; autoindex on; autoindex_format json; } }
}
'''


class Connection(http.client.HTTPConnection):
    def __init__(self):
        super().__init__('localhost')

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(SOCKET)


def listens():
    """The socket's file is there before anybody listens."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(SOCKET) == 0


def fetch(path, headers):
    connection = Connection()
    connection.request('GET', path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    plain = gzip.decompress(body) if answer.getheader('Content-Encoding') == 'gzip' else body
    return [path, answer.status, answer.getheader('Content-Encoding'), len(body), hashlib.sha256(body).hexdigest(),
            hashlib.sha256(plain).hexdigest()]


def main():
    folder, here = os.environ['IN'], os.getcwd()
    with open('nginx.conf', 'w', encoding='utf-8') as conf:
        conf.write(CONF % ('user root;' if os.getuid() == 0 else '', os.path.join(here, SOCKET), folder, folder))
    server = subprocess.Popen(['nginx', '-p', here, '-c', 'nginx.conf', '-e', 'error.log'])
    until = time.monotonic() + 20
    while not listens() and time.monotonic() < until:
        time.sleep(0.02)
    answers = {}

    def client(number):
        packed = {'Accept-Encoding': 'gzip'}
        answers[number] = [fetch(path, headers) for _ in range(2) for path, headers in (
            ('/records.json', packed), ('/records.xml', packed), ('/words.txt', packed), ('/records.bin', {}),
            ('/items.c', packed), ('/missing', packed), ('/words.txt', {'Range': 'bytes=1000-90000'}))]

    threads = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open(os.path.join(folder, 'records.json'), 'rb') as source:
        assert answers[0][0][-1] == hashlib.sha256(source.read()).hexdigest()
    for number in sorted(answers):
        for answer in answers[number]:
            print(number, *answer)
    server.send_signal(3)    # SIGQUIT: the workers end by exit
    print('status', server.wait())
    with open('error.log', encoding='utf-8') as log:    # without time and process
        alerts = [line for line in log if '[alert]' in line or '[emerg]' in line]
        print(*sorted(line.split(': ', 1)[1].split(' ', 1)[-1] for line in alerts))
    os.unlink('error.log')
    for name in (SOCKET, 'nginx.pid'):
        if os.path.exists(name):
            os.unlink(name)


QUICK = {}
LONG = {'nginx, gzip on two workers': 'python3 "$GROUP"'}

if __name__ == '__main__':
    sys.exit(main())
