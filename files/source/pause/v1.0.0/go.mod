module kubekeel.local/source/pause

go 1.24
