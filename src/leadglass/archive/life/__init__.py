"""The life of a study after it has arrived: versions that contradict, rejection, holds, retention, deletion, scrub.

Trusts: the caller's transaction, decided and recorded in access. Refuses: to lose a version that was acknowledged before
its last day, to delete what a hold or a rule keeps, to touch an object before its row has gone.

    quarantine.py tasks.py sorting.py reconcile.py purge.py    # two versions of one instance, and who decides
    rejections.py    retention.py deletion.py    scrub.py mending.py
"""
