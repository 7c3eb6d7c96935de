"""Whether limits hold exactly while several processes count and are killed.

__main__  the command: `tools/limits --help`
processes  count together, note what they are told, are killed and replaced
verdict    compares the notes with the limit
"""
