"""What the datasets of models are tested with."""

from __future__ import annotations

from django.db import models


class Category(models.Model):
    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=100)


class Tag(models.Model):
    name = models.CharField(max_length=100)


class Product(models.Model):
    class Status(models.TextChoices):
        NEW = "new"
        SOLD = "sold"

    sku = models.CharField(max_length=20, unique=True)
    name = models.CharField(max_length=100)
    price = models.DecimalField(max_digits=8, decimal_places=2, default=0)
    category = models.ForeignKey(Category, models.CASCADE, related_name="products")
    tags = models.ManyToManyField(Tag, related_name="products")
    status = models.CharField(max_length=10, choices=Status, default=Status.NEW)
    photo = models.FileField(blank=True)
    details = models.JSONField(default=dict)
    thumbnail = models.BinaryField(null=True)

    class Meta:
        ordering = ["name"]


class CheapProduct(Product):
    class Meta:
        proxy = True


class Book(Product):
    pages = models.IntegerField()


class Named(models.Model):
    name = models.CharField(max_length=100)

    class Meta:
        abstract = True


class Brand(Named):
    pass


class Item(models.Model):
    code = models.CharField(max_length=20, unique=True)
    name = models.CharField(max_length=100)
    active = models.BooleanField(default=True)
    updated_at = models.DateTimeField()


class DeletedItem(models.Model):
    code = models.CharField(max_length=20)
    deleted_at = models.DateTimeField()
