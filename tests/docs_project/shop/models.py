from django.db import models


class Product(models.Model):
    sku = models.CharField(max_length=20, unique=True)
    name = models.CharField(max_length=100)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    category = models.CharField(max_length=20)


class Stock(models.Model):
    product = models.ForeignKey(Product, models.CASCADE)
    warehouse = models.CharField(max_length=20)
    pieces = models.IntegerField()
