"""A model's whole life on one machine, under load: what `examples/run` shows.

__main__    its options, and what it stands on     load       keep-alive clients that never stop asking
story       the steps, in order                    answers    what came back, and what it shows
processes   what is started and stopped            offline    what each version predicts without an app
screen      what is printed                        s3         a store behind a real wire
"""
