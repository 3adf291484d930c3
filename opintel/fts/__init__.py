"""File transfers: the File Transfer Service's records and their error messages, judged by endpoint and link."""
