"""`rdev doctor`: looks at a deployment, says what is wrong and what to do. Changes nothing.

`outside` asks the API as its callers do; `inside` asks the stores by the deployment's own settings.
"""
