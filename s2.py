import json,time,sys,re
from http.server import *
DIG=sys.argv[1]
class H(BaseHTTPRequestHandler):
    protocol_version='HTTP/1.1'
    def log_message(s,*a): pass
    def j(s,o,c=200):
        b=json.dumps(o).encode(); s.send_response(c); s.send_header('Content-Type','application/json'); s.send_header('Content-Length',str(len(b))); s.end_headers(); s.wfile.write(b)
    def do_GET(s):
        p=s.path.split('?')[0]
        if p=='/version': return s.j({"major":"1","minor":"33","gitVersion":"v1.33.0","gitCommit":"","gitTreeState":"","buildDate":"","goVersion":"","compiler":"","platform":""})
        if p.endswith('/gitsources') : return s.j({"apiVersion":"midship.dev/v1alpha1","kind":"GitSourceList","metadata":{},"items":[{"apiVersion":"midship.dev/v1alpha1","kind":"GitSource","metadata":{"name":"main","namespace":"default"},"spec":{"url":"https://x/y.git","namespaces":["shop-dev"],"decryption":{"name":"age"}}}]})
        if p.endswith('/namespaces/shop-dev/secrets'):
            return s.j({"apiVersion":"v1","kind":"SecretList","metadata":{},"items":[{"metadata":{"name":"backup-store","namespace":"shop-dev","labels":{"midship.dev/source":"default.main"},"annotations":{"midship.dev/source-path":"secrets/s.yaml","midship.dev/source-digest":DIG}},"data":{"accessKeyId":"YQ=="}}]})
        s.j({"apiVersion":"v1","kind":"List","metadata":{},"items":[]})
ThreadingHTTPServer(('127.0.0.1',18999),H).serve_forever()
