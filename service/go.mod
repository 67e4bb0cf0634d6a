module github.com/nines-ha/nines/service

go 1.26.0
