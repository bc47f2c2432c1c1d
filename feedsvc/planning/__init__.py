"""Choose the threshold with evidence: survey, calibration, cost model, preview, recommendation.

Also changes the policy, forecasts and watches each change, and replays posts and reads.
Uploads and reads of feeds never call this room.
"""
