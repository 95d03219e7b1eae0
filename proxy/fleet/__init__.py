"""The pods of one upstream together: who reads whom, who decides, and how what was decided is shared out.

    member ──record──▶ board ◀──records── pilot ──plan──▶ board ──▶ member: its share

Every pod is a member. The board carries records and the plan; the pilot is the one member that decides for all. Never on the
path of a call.
"""
