"""DICOMweb (PS3.18) and its older sister WADO-URI: translate HTTP to door calls and back, piece by piece.

Trusts: the Call, whose subject is proved. Refuses: bodies without bounds, parameters that would be ignored, ranges and
accept lists that cost more than they say. The resources are rows of web/routes.py; what they promise stands in
api_description.py, from which openapi.py is made.

    search.py  retrieve.py  pixel_data.py  bulk_data.py  rendered.py  store.py  export.py  wado_uri.py
"""
